"""What a journey is and how it goes on: values and functions, no I/O."""
