"""What networks learn from: archives of labelled images, and synthetic ones."""
