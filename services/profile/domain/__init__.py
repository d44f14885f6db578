"""Who a customer is and what is known of them: functions over values, no I/O."""
