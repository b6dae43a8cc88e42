"""The report of a study: tables, pictures, and the HPARAMS page of TensorBoard, all from its outcomes."""
