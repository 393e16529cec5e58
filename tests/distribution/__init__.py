"""Building the distribution and proving that it works where nothing of this tree is."""
