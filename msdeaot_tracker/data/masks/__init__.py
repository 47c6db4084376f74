"""Masks to train on, made from the boxes of tracking datasets."""
