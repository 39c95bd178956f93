"""The course of training is analysed here."""
