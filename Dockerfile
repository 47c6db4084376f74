# For machines without a GPU; the commands are those of the README's section Install, which a test compares.
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/msdeaot-tracker
COPY . .
RUN python3 -m venv .venv && .venv/bin/pip install uv
RUN .venv/bin/uv pip install --python .venv/bin/python --torch-backend=cpu -e .
ENV MSDEAOT_CACHE=/data/.msdeaot
ENTRYPOINT ["/opt/msdeaot-tracker/.venv/bin/msdeaot"]
