"""What each part costs beside a peer and its ceiling: python -m benchmarks.<name>."""
