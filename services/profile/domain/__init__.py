"""Who a customer is and what is known of him: functions over values, no I/O."""
