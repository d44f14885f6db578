"""What a caller may read and do: by role, scope and policy, and which customers it may name."""
