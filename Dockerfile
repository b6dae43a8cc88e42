# vaeflow in a container, for CPU or GPU:
#
#     docker build -t vaeflow .
#     docker build -t vaeflow:gpu --build-arg EXTRAS=gpu .
#
# The wheels of TensorFlow carry CUDA, so both start from plain Python. The host needs the NVIDIA driver and
# the NVIDIA container toolkit. EXTRAS takes any extras of pyproject.toml, for example "gpu,study,onnx".
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=""
RUN python -m venv /opt/vaeflow
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY vaeflow vaeflow
# The cache stays out of the image, and spares another download of TensorFlow where only the code changed.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/vaeflow/bin/pip install ".${EXTRAS:+[${EXTRAS}]}"

FROM python:${PYTHON}-slim
# Your own number (`--build-arg UID=$(id -u)`) makes the files in a mounted folder yours.
ARG UID=1000
RUN useradd --create-home --uid "${UID}" vaeflow && install --directory --owner=vaeflow /vaeflow/runs
COPY --from=build /opt/vaeflow /opt/vaeflow
ENV PATH=/opt/vaeflow/bin:$PATH
# A number, so that Kubernetes can see that it is not root.
USER ${UID}
WORKDIR /vaeflow
ENTRYPOINT ["vaeflow"]
CMD ["--help"]
