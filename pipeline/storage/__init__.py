"""Objects by address, on local disks and in S3: `Storage` is the one way to them."""

from pipeline.storage.storage import ObjectInfo, Storage, StorageOptions, forget_clients

__all__ = ["ObjectInfo", "Storage", "StorageOptions", "forget_clients"]
