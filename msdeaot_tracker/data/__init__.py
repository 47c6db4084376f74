"""Video to train and test on, in three rooms: `procedural` draws it, `datasets` reads it, `masks` makes masks of boxes.

Beside them lies what takes clips from all three: augmentation, mixing, sheets of pictures.
"""
