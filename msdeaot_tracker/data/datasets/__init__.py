"""Datasets and sequences, read from the folders and files they are published in."""
