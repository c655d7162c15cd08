"""The networks in plain torch, with the official parameter names."""
