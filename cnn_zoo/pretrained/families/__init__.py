"""Names that torchvision and timm give to the tensors of each family of models."""
