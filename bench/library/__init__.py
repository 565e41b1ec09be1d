"""What Python programs call, by the names that `bench` gives."""
