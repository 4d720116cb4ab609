# kerasgan as a container, for processors or for NVIDIA GPUs:
#
#   docker build --target cpu -t kerasgan .
#   docker build --target gpu -t kerasgan:gpu .
#
# docs/install.md says how to run it. What is written is written to the folder that is mounted at
# /work; nothing else has to be writable but /tmp.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY setup.py pyproject.toml README.md LICENSE MANIFEST.in ./
COPY kerasgan kerasgan
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
ENV PATH=/opt/kerasgan/bin:$PATH \
    MPLBACKEND=agg \
    MPLCONFIGDIR=/tmp/matplotlib \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN python -m venv /opt/kerasgan \
    && useradd --create-home --uid 1000 kerasgan \
    && install --directory --owner kerasgan /work
COPY --from=wheel /wheels /wheels
WORKDIR /work
EXPOSE 8080
ENTRYPOINT ["kerasgan"]
CMD ["--help"]

FROM base AS gpu
RUN pip install "$(echo /wheels/*.whl)[app,coco,dicom,gpu,highdicom,imagenet,nifti,onnx,video]"
USER 1000

FROM base AS cpu
RUN pip install "$(echo /wheels/*.whl)[app,coco,dicom,highdicom,imagenet,nifti,onnx,video]"
USER 1000
