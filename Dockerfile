# An image for every node of a cluster, driver included: the locked libraries, and Tamis as a wheel.
#   make lock && docker build -t tamis .
#   docker run --rm -v "$PWD:/data" -w /data tamis run configs/web.yaml --input crawl --out run1
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY stages stages
COPY tokenizer tokenizer
COPY train train
COPY configs configs
RUN pip wheel --no-cache-dir --no-deps -w /dist .

FROM python:3.11-slim
# KubeRay starts Ray by a login shell and asks for wget in its probes.
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /
RUN pip install --no-cache-dir --require-hashes -r /requirements.lock
COPY --from=build /dist /dist
RUN pip install --no-cache-dir --no-deps /dist/*.whl && rm -rf /dist
# Nothing here needs to be root. Kernels are compiled on first use, into the temporary folder.
RUN useradd --create-home tamis
USER tamis
WORKDIR /home/tamis
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["tamis"]
CMD ["--help"]
