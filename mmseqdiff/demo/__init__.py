"""The demonstration: every task on a few clips, a minute of training, and one page that shows it all."""
