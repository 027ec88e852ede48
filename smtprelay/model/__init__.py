"""The values that the stations of a mail's way share: frozen, pure, without behaviour of a station."""
