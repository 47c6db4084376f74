"""Training over the same Model verbs and the same Memory that track."""
