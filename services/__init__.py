"""The four services of Raak, and what they share: chassis, rules and contracts."""
