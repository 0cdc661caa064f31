"""The pure core: words of the field as types, normal forms, match keys. No I/O, no protobuf."""
