"""GoogLeNet on ImageNet, Table IV: pictures are read from disk, a batch at a time."""
