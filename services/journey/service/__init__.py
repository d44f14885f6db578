"""What journey does: publishing, hearing what happens, firing timers, telling what is the case."""
