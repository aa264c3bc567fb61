"""The engines that the array is compared with."""
