"""A picture in words and vectors: captions, keywords, embeddings."""
