"""What tests of op-type plugins use: the contract kit and hand-written model trees."""
