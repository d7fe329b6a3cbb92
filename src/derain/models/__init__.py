"""Networks: tensors in, tensors out. They know nothing of files, photographs or training."""
