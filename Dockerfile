# For a box with an NVIDIA GPU: docker build -t sv2tts . && docker run --gpus all -it -v /my/datasets:/datasets sv2tts
# In it, run the scripts themselves; make would install everything again.
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /sv2tts
COPY requirements*.txt build-constraints.txt ./
RUN pip install --no-cache-dir --upgrade "pip>=25.3" && \
    pip install --no-cache-dir --build-constraint build-constraints.txt -r requirements.txt
COPY . .
RUN python -m encoder.download
CMD ["bash"]
