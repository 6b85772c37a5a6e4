from __future__ import annotations

from dataclasses import replace

from gateway.aws.provisioning.as_json import plan_as_json
from gateway.aws.provisioning.names import TAG, Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.plan import Action, Found, key_of, plan
from gateway.aws.provisioning.wanted import Kind, wanted

PLACE = Place("123456789012", "eu-west-1")
OPTIONS = Options(webhook_url="https://u:s3cret@mail.example.com/sns", queue=True)
OURS = (TAG, OPTIONS.scope)
WANTED = wanted(OPTIONS, PLACE)


def as_found(resource, **changed):
    tags = {TAG: OPTIONS.scope} if resource.has_tag else None
    arn = resource.arn or f"{resource.parent}:id"
    found = Found(resource.kind, resource.name, dict(resource.attributes), tags, arn=arn, parent=resource.parent)
    return replace(found, **changed)


def everything(**changed):
    """All that is wanted, as if it were there; `kind=changes` replaces parts of the first of a kind."""
    found = {}
    for resource in WANTED:
        found[key_of(resource)] = as_found(resource, **changed.pop(resource.kind.name, {}))
    return found


def step_of(made, kind):
    return next(step for step in made.steps if step.resource.kind is kind)


def test_from_nothing_everything_is_made():
    made = plan(WANTED, {}, tag=OURS)
    assert {step.action for step in made.steps} == {Action.CREATE}
    assert [step.resource for step in made.changes] == list(WANTED)


def test_when_everything_is_there_nothing_changes():
    made = plan(WANTED, everything(), tag=OURS)
    assert {step.action for step in made.steps} == {Action.UNCHANGED}
    assert made.changes == ()


def test_one_attribute_is_one_difference_with_old_and_new():
    attributes = {**WANTED[0].attributes, "SignatureVersion": "1"}
    made = plan(WANTED, everything(TOPIC={"attributes": attributes}), tag=OURS)
    (step,) = made.changes
    (difference,) = step.differences
    assert (difference.attribute, difference.old, difference.new) == ("SignatureVersion", "1", "2")


def test_what_aws_adds_to_a_delivery_policy_is_no_difference():
    (resource,) = (each for each in WANTED if each.kind is Kind.SUBSCRIPTION and "DeliveryPolicy" in each.attributes)
    told = {
        **resource.attributes["DeliveryPolicy"],
        "sicklyRetryPolicy": None,
        "throttlePolicy": None,
        "guaranteed": False,
    }
    told["healthyRetryPolicy"] = {**told["healthyRetryPolicy"], "numNoDelayRetries": "0"}
    attributes = {**resource.attributes, "DeliveryPolicy": told, "FilterPolicy": None}
    assert plan(WANTED, everything(SUBSCRIPTION={"attributes": attributes}), tag=OURS).changes == ()


def test_a_filter_that_hides_reports_is_taken_off():
    (resource,) = (each for each in WANTED if each.kind is Kind.SUBSCRIPTION and "DeliveryPolicy" in each.attributes)
    attributes = {**resource.attributes, "FilterPolicy": {"kind": ["bounce"]}}
    (step,) = plan(WANTED, everything(SUBSCRIPTION={"attributes": attributes}), tag=OURS).changes
    assert [one.attribute for one in step.differences] == ["FilterPolicy"]


def test_a_pending_subscription_is_asked_for_again_and_nothing_else_is_said_of_it():
    pending = {"attributes": {"Protocol": "https", "Confirmed": False}, "arn": ""}
    (step,) = plan(WANTED, everything(SUBSCRIPTION=pending), tag=OURS).changes
    assert [(one.attribute, one.old, one.new) for one in step.differences] == [("Confirmed", False, True)]


def test_what_does_not_carry_our_tag_is_left_alone():
    made = plan(WANTED, everything(TOPIC={"tags": {}}, CONFIGURATION_SET={"tags": {TAG: "other"}}), tag=OURS)
    assert [step.resource.kind for step in made.foreign] == [Kind.TOPIC, Kind.CONFIGURATION_SET]
    assert made.changes == ()


def test_it_is_taken_over_when_that_is_asked_for():
    made = plan(WANTED, everything(TOPIC={"tags": {}}), tag=OURS, adopt=True)
    (step,) = made.changes
    assert step.adopts
    assert [one.attribute for one in step.differences] == ["tag"]


def test_where_nothing_keeps_tags_nothing_is_foreign():
    assert plan(WANTED, everything(TOPIC={"tags": None}), tag=OURS).foreign == ()


def test_an_identity_that_reports_to_another_topic_is_anothers():
    options = Options(queue=True, classic=True, identities=("example.com",))
    resources = [each for each in wanted(options, PLACE) if each.kind is Kind.IDENTITY]
    (identity,) = resources
    strange = as_found(identity, attributes={"BounceTopic": "arn:aws:sns:eu-west-1:123456789012:crm"})
    found = {key_of(strange): strange}
    assert plan(resources, found, tag=OURS).foreign
    (step,) = plan(resources, found, tag=OURS, adopt=True).changes
    assert step.differences[0].old == "arn:aws:sns:eu-west-1:123456789012:crm"
    unset = as_found(identity, attributes={"ForwardingEnabled": True})
    assert plan(resources, {key_of(unset): unset}, tag=OURS).changes


def test_an_emulator_that_does_not_show_an_attribute_is_believed():
    attributes = {"Policy": WANTED[0].attributes["Policy"]}
    found = everything(TOPIC={"attributes": attributes})
    assert plan(WANTED, found, tag=OURS).changes
    assert plan(WANTED, found, tag=OURS, shows_all=False).changes == ()


def test_the_plan_as_json_has_the_differences_and_no_password():
    made = plan(WANTED, everything(TOPIC={"attributes": {**WANTED[0].attributes, "SignatureVersion": "1"}}), tag=OURS)
    shown = plan_as_json(PLACE, made, env={"AWS_REGION": "eu-west-1"}, iam={})
    assert shown["changes"] == 1
    assert shown["steps"][0]["differences"] == [{"attribute": "SignatureVersion", "old": "1", "new": "2"}]
    assert "s3cret" not in str(shown)


def classic(*identities):
    return wanted(Options(queue=True, classic=True, identities=identities), PLACE)


def test_identities_that_an_earlier_run_wired_may_go_on_publishing():
    before = classic("old.example")
    found = {key_of(each): as_found(each) for each in before if each.kind is Kind.TOPIC}
    step = step_of(plan(classic("new.example"), found, tag=OURS), Kind.TOPIC)
    (policy,) = step.differences
    (statement,) = policy.new["Statement"]
    assert statement["Condition"]["StringEquals"]["AWS:SourceArn"] == [
        PLACE.arn("ses", "identity/new.example"),
        PLACE.arn("ses", "identity/old.example"),
    ]
    assert plan(classic("old.example"), found, tag=OURS).steps[0].differences == ()


def test_what_is_only_taken_over_lets_nobody_in_that_it_let_in_before():
    found = {key_of(each): as_found(each, tags={}) for each in classic("old.example") if each.kind is Kind.TOPIC}
    step = step_of(plan(classic("new.example"), found, tag=OURS, adopt=True), Kind.TOPIC)
    assert "old.example" not in str([one.new for one in step.differences])


def test_what_others_put_into_a_policy_is_named_before_it_is_lost():
    theirs = {"Sid": "Alarms", "Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "*"}
    default = {"Sid": "__default_statement_ID", "Effect": "Allow"}
    policy = {"Version": "2008-10-17", "Statement": [default, theirs, *WANTED[0].attributes["Policy"]["Statement"]]}
    attributes = {**WANTED[0].attributes, "Policy": policy}
    strange = everything(TOPIC={"attributes": attributes, "tags": {}})
    (warning,) = plan(WANTED, strange, tag=OURS, adopt=True).warnings
    assert "topic sesgate-production-feedback: its policy is replaced" in warning
    assert "(Alarms)" in warning
    assert plan(WANTED, strange, tag=OURS).warnings == ()


def test_a_subscription_of_an_earlier_address_is_named():
    old = next(each for each in wanted(Options(webhook_url="https://u:old-s3cret@old.example.com/sns"), PLACE)[::-1])
    shown = {**old.attributes, "Endpoint": "https://u:old-s3cret@old.example.com/sns"}
    found = everything() | {key_of(old): as_found(old, attributes=shown, arn="arn:aws:sns:old")}
    (warning,) = plan(WANTED, found, tag=OURS).warnings
    assert "https://u:****@old.example.com/sns as well" in warning
    assert "--subscription-arn arn:aws:sns:old" in warning
    assert "s3cret" not in warning


def test_a_queue_goes_on_taking_from_the_topics_of_the_other_way():
    found = {key_of(each): as_found(each) for each in WANTED if each.kind is Kind.QUEUE}
    options = Options(webhook_url="https://mail.example.com/sns", queue=True, classic=True, identities=("a.example",))
    changed = [
        step for step in plan(wanted(options, PLACE), found, tag=OURS).changes if step.resource.kind is Kind.QUEUE
    ]
    assert len(changed) == 2
    for step in changed:
        (policy,) = step.differences
        sources = policy.new["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"]
        assert len(sources) == 4
        assert PLACE.arn("sns", "sesgate-production-feedback") in sources
    again = {**found, **{key_of(step.resource): as_found(step.resource) for step in changed}}
    assert not [step for step in plan(WANTED, again, tag=OURS).changes if step.resource.kind is Kind.QUEUE]
