"""The framed link: COBS, CRC-32, requests carried out on the store bus, responses."""
