"""What a whole Raak does when something breaks. A package, so that its Raak ends with its tests."""
