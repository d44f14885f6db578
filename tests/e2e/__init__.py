"""What a whole Raak does. A package, so that its Raak ends with its own tests."""
