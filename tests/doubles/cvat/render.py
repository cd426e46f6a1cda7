"""Every thing as the server's JSON tells it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from tests.doubles.cvat import access
from tests.doubles.cvat.state import (
    BackgroundRequest,
    Comment,
    Delivery,
    Issue,
    Job,
    Label,
    Membership,
    Organization,
    Project,
    State,
    Task,
    Token,
    User,
    Webhook,
)

Json = dict[str, Any]
_KEEP_S = {"create": (500, 365 * 86400), "import": (3600, 30 * 86400), "export": (86400, 86400)}


def date(when: datetime | None) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if when is not None else None


class Render:
    """With the address that the caller used, and the caller: what they may not see is null."""

    def __init__(self, state: State, base_url: str, caller: User) -> None:
        self.state = state
        self.base = base_url
        self.caller = caller
        self._jobs: dict[int, list[Job]] | None = None

    def _jobs_of(self, task_id: int) -> list[Job]:
        """Sorted by task once: a page of 500 tasks would search all jobs 500 times."""
        if self._jobs is None:
            self._jobs = {}
            for job in self.state.jobs.values():
                self._jobs.setdefault(job.task_id, []).append(job)
        return self._jobs.get(task_id, [])

    def listing(self, kind: str, **query: object) -> str:
        return f"{self.base}/api/{kind}?{urlencode(query)}"

    def user_line(self, user_id: int | None) -> Json | None:
        user = self.state.users.get(user_id or 0)
        if user is None:
            return None
        return {
            "url": f"{self.base}/api/users/{user.id}",
            "id": user.id,
            "username": user.username,
            "first_name": user.first_name,
            "last_name": user.last_name,
        }

    def user(self, user: User) -> Json:
        return {
            **(self.user_line(user.id) or {}),
            "email": user.email,
            "groups": user.groups,
            "is_staff": user.superuser,
            "is_superuser": user.superuser,
            "is_active": True,
            "last_login": date(user.last_login),
            "date_joined": date(user.date_joined),
            "has_analytics_access": user.superuser,
        }

    def organization(self, organization: Organization) -> Json:
        return {
            "id": organization.id,
            "slug": organization.slug,
            "name": organization.name,
            "description": organization.description,
            "created_date": date(organization.created_date),
            "updated_date": date(organization.updated_date),
            "contact": organization.contact,
            "owner": self.user_line(organization.owner_id),
        }

    def membership(self, member: Membership) -> Json:
        return {
            "id": member.id,
            "user": self.user_line(member.user_id),
            "organization": member.organization_id,
            "is_active": member.is_active,
            "joined_date": date(member.joined_date),
            "role": member.role,
            "invitation": None,
        }

    def token(self, token: Token) -> Json:
        return {
            "id": token.id,
            "name": token.name,
            "created_date": date(token.created_date),
            "updated_date": date(token.updated_date),
            "expiry_date": date(token.expiry_date),
            "last_used_date": date(token.last_used_date),
            "read_only": token.read_only,
            "owner": self.user_line(token.owner_id),
        }

    def project(self, project: Project) -> Json:
        tasks = self.state.tasks_of(project.id)
        subsets = dict.fromkeys(task.subset for task in tasks if task.subset)
        return {
            "url": f"{self.base}/api/projects/{project.id}",
            "id": project.id,
            "name": project.name,
            "owner": self.user_line(project.owner_id),
            "assignee": self.user_line(project.assignee_id),
            "guide_id": None,
            "bug_tracker": project.bug_tracker,
            "created_date": date(project.created_date),
            "updated_date": date(project.updated_date),
            "status": project.status,
            "dimension": "2d" if any(task.media for task in tasks) else None,
            "organization": project.organization_id,
            "organization_id": project.organization_id,
            "target_storage": None,
            "source_storage": None,
            "tasks": {"count": len(tasks), "url": self.listing("tasks", project_id=project.id)},
            "labels": {"url": self.listing("labels", project_id=project.id)},
            "assignee_updated_date": date(project.assignee_updated_date),
            "task_subsets": list(subsets),
        }

    def task(self, task: Task) -> Json:
        project = self.state.projects.get(task.project_id or 0)
        jobs = self._jobs_of(task.id)
        return {
            "url": f"{self.base}/api/tasks/{task.id}",
            "id": task.id,
            "name": task.name,
            "project_id": task.project_id,
            "project_name": project.name if project else None,
            "owner": self.user_line(task.owner_id),
            "assignee": self.user_line(task.assignee_id),
            "bug_tracker": task.bug_tracker,
            "created_date": date(task.created_date),
            "updated_date": date(task.updated_date),
            "overlap": task.overlap,
            "segment_size": task.segment_size,
            "status": task.status,
            **self._media_of(task),
            "guide_id": None,
            "subset": task.subset,
            "organization_id": task.organization_id,
            "organization": task.organization_id,
            "target_storage": None,
            "source_storage": None,
            "jobs": {
                "count": len(jobs),
                "completed": sum(job.stage == "acceptance" and job.state == "completed" for job in jobs),
                "validation": sum(job.stage == "validation" for job in jobs),
                "url": self.listing("jobs", task_id=task.id),
            },
            "labels": {"url": self.listing("labels", task_id=task.id)},
            "assignee_updated_date": date(task.assignee_updated_date),
            "validation_mode": None,
            "consensus_enabled": bool(task.consensus_replicas),
        }

    def _media_of(self, task: Task) -> Json:
        if task.media is None:
            begun: Json = {"data_cloud_storage_id": None, "size": 0} if task.data_id is not None else {}
            return begun | {"data": task.data_id, "dimension": "", "mode": "", "media_type": ""}
        return {
            "data_chunk_size": task.media.chunk_size,
            "data_original_chunk_type": task.media.original_chunk_type,
            "data_compressed_chunk_type": task.media.chunk_type,
            "data_cloud_storage_id": None,
            "size": len(task.media.frames),
            "image_quality": task.media.image_quality,
            "data": task.media.id,
            "dimension": "2d",
            "mode": task.media.mode,
            "media_type": "image",
        }

    def job(self, job: Job) -> Json:
        task = self.state.tasks[job.task_id]
        assert task.media is not None
        project = self.state.projects.get(task.project_id or 0)
        may = access.sees_task(self.state, self.caller, task)
        issues = [issue for issue in self.state.issues.values() if issue.job_id == job.id]
        return {
            "url": f"{self.base}/api/jobs/{job.id}",
            "id": job.id,
            "task_id": job.task_id,
            "task_name": task.name if may else None,
            "project_id": task.project_id,
            "project_name": project.name if may and project else None,
            "assignee": self.user_line(job.assignee_id),
            "guide_id": None,
            "dimension": "2d",
            "mode": task.media.mode,
            "media_type": "image",
            "bug_tracker": task.bug_tracker or (project.bug_tracker if project else ""),
            "status": job.status,
            "stage": job.stage,
            "state": job.state,
            "frame_count": job.stop_frame - job.start_frame + 1,
            "start_frame": job.start_frame,
            "stop_frame": job.stop_frame,
            "data_chunk_size": task.media.chunk_size,
            "data_compressed_chunk_type": task.media.chunk_type,
            "data_original_chunk_type": task.media.original_chunk_type,
            "created_date": date(job.created_date),
            "updated_date": date(job.updated_date),
            "issues": {"url": self.listing("issues", job_id=job.id), "count": len(issues)},
            "labels": {"url": self.listing("labels", job_id=job.id)},
            "type": job.type,
            "organization": task.organization_id,
            "target_storage": None,
            "source_storage": None,
            "assignee_updated_date": date(job.assignee_updated_date),
            "parent_job_id": None,
            "replicas_count": 0,
            "consensus_replicas": 0,
        }

    def label(self, label: Label) -> Json:
        made: Json = {
            "id": label.id,
            "name": label.name,
            "color": label.color,
            "attributes": [vars(attribute) for attribute in label.attributes],
            "type": label.type,
        }
        if label.parent_id is not None:
            return made | {"has_parent": True}
        made |= {"sublabels": [self.label(sublabel) for sublabel in label.sublabels]}
        made |= {"project_id": label.project_id} if label.project_id is not None else {"task_id": label.task_id}
        made |= {"parent_id": None, "has_parent": False}
        return made | ({"svg": label.svg} if label.svg is not None else {})

    def issue(self, issue: Issue) -> Json:
        comments = [comment for comment in self.state.comments.values() if comment.issue_id == issue.id]
        return {
            "id": issue.id,
            "frame": issue.frame,
            "position": issue.position,
            "job": issue.job_id,
            "owner": self.user_line(issue.owner_id),
            "assignee": self.user_line(issue.assignee_id),
            "created_date": date(issue.created_date),
            "updated_date": date(issue.updated_date),
            "resolved": issue.resolved,
            "comments": {"count": len(comments), "url": self.listing("comments", issue_id=issue.id)},
        }

    def comment(self, comment: Comment) -> Json:
        return {
            "id": comment.id,
            "issue": comment.issue_id,
            "owner": self.user_line(comment.owner_id),
            "message": comment.message,
            "created_date": date(comment.created_date),
            "updated_date": date(comment.updated_date),
        }

    def webhook(self, webhook: Webhook) -> Json:
        sent = [delivery for delivery in self.state.deliveries.values() if delivery.webhook_id == webhook.id]
        made: Json = {
            "id": webhook.id,
            "url": f"{self.base}/api/webhooks/{webhook.id}",
            "target_url": webhook.target_url,
            "description": webhook.description,
            "type": webhook.type,
            "content_type": webhook.content_type,
            "is_active": webhook.is_active,
            "enable_ssl": webhook.enable_ssl,
            "created_date": date(webhook.created_date),
            "updated_date": date(webhook.updated_date),
            "owner": self.user_line(webhook.owner_id),
            "project_id": webhook.project_id,
            "organization": webhook.organization_id,
            "events": sorted(webhook.events),
        }
        if sent:
            last = max(sent, key=lambda delivery: delivery.id)
            made |= {"last_status": last.status_code, "last_delivery_date": date(last.updated_date)}
        return made

    def delivery(self, delivery: Delivery) -> Json:
        return {
            "id": delivery.id,
            "webhook_id": delivery.webhook_id,
            "event": delivery.event,
            "status_code": delivery.status_code,
            "redelivery": delivery.redelivery,
            "attempt": 1,
            "request_duration": 1,
            "created_date": date(delivery.created_date),
            "updated_date": date(delivery.updated_date),
            "changed_fields": delivery.changed_fields,
            "request": delivery.request,
            "response": delivery.response,
        }

    def request(self, request: BackgroundRequest) -> Json:
        owner = self.state.users[request.owner_id]
        return {
            "status": request.status,
            "message": request.message,
            "id": request.id,
            "operation": {
                "type": request.type,
                "target": request.target,
                "project_id": request.project_id,
                "task_id": request.task_id,
                "job_id": request.job_id,
                "org_id": request.org_id,
                "format": request.format,
                "lightweight": None,
            },
            "progress": request.progress,
            "created_date": date(request.created_date),
            "started_date": date(request.started_date),
            "finished_date": date(request.finished_date),
            "expiry_date": date(expiry(request)),
            "owner": {"id": owner.id, "username": owner.username},
            "result_url": self._result_url(request),
            "result_id": request.result_id,
        }

    def _result_url(self, request: BackgroundRequest) -> str | None:
        if request.status != "finished" or request.result is None:
            return None
        number = {"project": request.project_id, "task": request.task_id, "job": request.job_id}[request.target]
        what = "backup" if request.type == "export:backup" else "dataset"
        return f"{self.base}/api/{request.target}s/{number}/{what}/download?rq_id={quote(request.id, safe='~')}"


def expiry(request: BackgroundRequest) -> datetime | None:
    """The server forgets a request some time after its end, by what it was and how it ended."""
    if request.finished_date is None:
        return None
    finished_s, failed_s = _KEEP_S[request.type.partition(":")[0]]
    return request.finished_date + timedelta(seconds=failed_s if request.status == "failed" else finished_s)
