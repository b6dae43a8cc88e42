"""How time and memory grow with batch, image size, net, data, replicas and weights."""
