# prost with its development tools, on a CPU:
#   docker build -t prost .
#   docker run --rm prost              # make demo
#   docker run --rm prost make test
FROM python:3.11-slim
RUN apt-get update && apt-get install --no-install-recommends --yes make && rm -rf /var/lib/apt/lists/*
WORKDIR /prost
COPY . .
RUN make install
CMD ["make", "demo"]
