"""Small trained weights and held-out clips."""
