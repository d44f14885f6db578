"""What is counted and how sure we are of it: functions over values, no I/O."""
