"""A standing data set in an S3 bucket: synced there, and read there by others through Delta."""

from __future__ import annotations

from deltalake import DeltaTable
from support.s3 import Bucket, S3Server
from support.shards import make_tar
from support.standing import Standing, picture

from pipeline.storage import Storage


def test_images_and_shards_of_a_bucket_are_followed_and_delta_readers_find_them_there(
    s3_bucket: Bucket, s3_server: S3Server
):
    for number in range(5):
        s3_bucket.write(f"in/{number}.png", picture(number))
    s3_bucket.write("in/b.tar", make_tar({"0.png": picture(50), "1.png": picture(51)}))
    standing = Standing(Storage(), f"{s3_bucket.uri}/in", f"{s3_bucket.uri}/out")
    standing.sync()
    first = standing.rows()
    assert len(first) == 7

    s3_bucket.write("in/new one.png", picture(60))
    s3_bucket.write("in/0.png", picture(61))
    s3_bucket.write("in/b.tar", make_tar({"0.png": picture(52)}))
    s3_bucket.client.delete_object(Bucket=s3_bucket.name, Key="in/3.png")
    said = standing.sync().message
    assert said.startswith("generation 2: 1 new, 2 stale, 1 orphaned; 0 of 3 images failed")

    assert len(standing.rows()) == 6
    assert standing.rows(1) == first
    assert standing.sync().message.startswith("nothing new")
    options = {
        "AWS_ENDPOINT_URL": s3_server.url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret",
    }  # fmt: skip
    delta = DeltaTable(f"{s3_bucket.uri}/out/tables/images", storage_options=options)
    found = delta.to_pyarrow_table(columns=["uri", "person_count"]).to_pylist()
    assert sorted((row["uri"], row["person_count"]) for row in found) == [
        (uri, persons) for uri, _, persons in standing.rows()
    ]
    keys = s3_bucket.keys()
    for name in ("images", "persons"):
        folder = f"out/tables/{name}/"
        there = [key.removeprefix(folder) for key in keys if key.startswith(folder)]
        assert {key for key in there if "/" not in key} == set(standing.output.log(name).snapshot().files)
