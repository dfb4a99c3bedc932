"""Demo: real human text that every Python machine has, and a recipe over it."""
