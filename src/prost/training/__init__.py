"""Training: from batches to a loss, and from the loss to weights."""
