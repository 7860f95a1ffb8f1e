"""The size of an embedding, where notebooks written for Real-Time-Voice-Cloning look for it."""

from encoder.config import EncoderConfig

model_embedding_size = EncoderConfig().embedding_size
