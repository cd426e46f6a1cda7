"""Semantic segmentation with segmentation-models-pytorch, trained by Lightning."""
