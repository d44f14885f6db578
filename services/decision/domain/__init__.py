"""How a decision is made: functions over values, without a clock, a database or chance."""
