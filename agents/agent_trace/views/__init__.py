"""What people look at: a pure model of it, and a view for the browser and one for the terminal."""
