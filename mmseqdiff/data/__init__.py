"""Media in and out, clips, the latent store, and the order in which it is read."""
