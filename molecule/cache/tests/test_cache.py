"""A cache over two zones that takes TLS and its token only."""

import base64
import json

import pytest

IDENTIFIER = "cache-test"
# Runs on a host: what the cache answers the lines of standard input, or what keeps the connection from being made.
CLIENT = """
import json, socket, ssl, sys
asked = json.load(sys.stdin)
try:
    connection = socket.create_connection((asked["host"], asked["port"]), 10)
    if asked["tls"]:
        connection = ssl.create_default_context(cadata=asked["authority"]).wrap_socket(connection, server_hostname=asked["host"])
    connection.sendall("".join(line + "\\r\\n" for line in [*asked["lines"], "QUIT"]).encode())
    print(connection.makefile().read())
except OSError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def group(aws):
    (found,) = aws("elasticache").describe_replication_groups(ReplicationGroupId=IDENTIFIER)["ReplicationGroups"]
    return found


@pytest.fixture(scope="module")
def token(aws):
    return aws("secretsmanager").get_secret_value(SecretId="flotilla/test/cache/cache-token")["SecretString"]


@pytest.fixture
def ask(host, group, state):
    def ask(*lines, tls=True):
        endpoint = group["NodeGroups"][0]["PrimaryEndpoint"]
        authority = (state / "cloud" / "ca.pem").read_text(encoding="ascii")
        asked = {"host": endpoint["Address"], "port": endpoint["Port"], "authority": authority, "tls": tls, "lines": lines}
        return host.check_output("printf %%s %s | base64 -d | python3 -c %s", base64.b64encode(json.dumps(asked).encode()).decode(), CLIENT)

    return ask


def test_it_is_encrypted_and_another_zone_takes_over(aws, group, tags):
    assert (group["TransitEncryptionEnabled"], group["AtRestEncryptionEnabled"], group["AuthTokenEnabled"]) == (True, True, True)
    assert (group["AutomaticFailover"], group["MultiAZ"], len(group["MemberClusters"])) == ("enabled", "enabled", 2)
    worn = aws("elasticache").list_tags_for_resource(ResourceName=group["ARN"])["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in worn} == tags


def test_it_stands_in_the_subnets_and_behind_the_group_that_it_was_given(aws, group, state):
    account = json.loads((state / "account.json").read_text(encoding="utf-8"))
    (subnets,) = aws("elasticache").describe_cache_subnet_groups(CacheSubnetGroupName=IDENTIFIER)["CacheSubnetGroups"]
    assert sorted(one["SubnetIdentifier"] for one in subnets["Subnets"]) == sorted(account["subnets"])
    (member, *_others) = aws("elasticache").describe_cache_clusters(CacheClusterId=group["MemberClusters"][0])["CacheClusters"]
    assert [one["SecurityGroupId"] for one in member["SecurityGroups"]] == [account["security_group"]]


def test_with_the_token_it_keeps_what_it_is_given(ask, token):
    assert ask(f"AUTH {token}", "SET molecule kept", "GET molecule").split() == ["+OK", "+OK", "$4", "kept", "+OK"]


def test_without_the_token_or_without_tls_it_says_nothing(ask):
    assert ask("GET molecule").startswith("-NOAUTH")
    assert ask("AUTH wrong").startswith("-WRONGPASS")
    assert "NOAUTH" not in ask("GET molecule", tls=False)


def test_the_token_is_generated_once(aws, token):
    assert len(token) == 64 and token.isascii() and token.isalnum()
    assert len(aws("secretsmanager").list_secret_version_ids(SecretId="flotilla/test/cache/cache-token")["Versions"]) == 1
