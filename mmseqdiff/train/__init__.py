"""Training: the objective, the loop, averages, checkpoints, and what is trained with them."""
