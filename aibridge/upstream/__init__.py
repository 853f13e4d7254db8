"""The provider's side of an exchange."""
