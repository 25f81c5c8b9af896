"""An encrypted volume that waits for its service's host, in the zone where that host will be."""


def test_there_is_one_volume_encrypted_and_of_the_size_asked_for(aws, ours, tags):
    (volume,) = aws("ec2").describe_volumes(Filters=ours)["Volumes"]
    assert (volume["VolumeType"], volume["Size"], volume["Encrypted"]) == ("gp3", 3, True)
    assert (volume["AvailabilityZone"], volume["State"]) == ("eu-central-1a", "available")
    name = "volumes-test-web-data"
    assert {tag["Key"]: tag["Value"] for tag in volume["Tags"]} == {**tags, "Name": name, "flotilla:service": "web", "flotilla:volume": name}
