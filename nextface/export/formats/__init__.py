"""What a person is exported to: each folder here holds formats, which its `FORMATS` names."""
