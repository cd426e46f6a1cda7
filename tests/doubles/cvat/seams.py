"""Between the routes and what moves bytes: media.py, uploads.py and exports.py have exactly these functions.

`media.py` (module of functions)
    def post_data(server: CvatDouble, call: Call, task: Task) -> Answer
        POST /api/tasks/{id}/data/ with Upload-Start (202), Upload-Multiple (200), Upload-Finish (202 {"rq_id": …}), TUS
        creation (201 + Location), or plain form/JSON without those headers. At the end it submits the unpacking with
        `server.worker.submit(BackgroundRequest(id="action=create&target=task&target_id=N", type="create:task", …,
        started_message="Media files are being extracted..."), work)`; `work` sets `task.media`, calls
        `state.make_jobs(task)` and raises `Failed(message)` when it cannot.
    def upload_chunk(server, call, task, file_id: str) -> Answer          PATCH and HEAD /api/tasks/{id}/data/{file_id}
    def get_data(server, call, task, job: Job | None) -> Answer           type=chunk|frame|context_image|preview
    def get_preview(server, call, task, job: Job | None) -> Answer        the task's or the job's preview
    def get_meta(server, call, task, job: Job | None) -> Answer
    def patch_meta(server, call, task, job: Job | None) -> Answer         deleted_frames; moves the dates

`uploads.py` (upload protocol of annotation files, dataset files and backups)
    def receive(server, call, folder: str, prefix: str, finish: Callable[[str, bytes], Answer]) -> Answer
        POST: Upload-Start (202), TUS creation (201 + Location under the call's path; the file's id is
        `{prefix}_{uuid4}`), Upload-Finish (the file named by `?filename=`; answers with `finish(name, content)`), and a
        plain multipart POST of one file. `folder` keeps the uploads of two targets apart.
    def chunk(server, call, folder: str, file_id: str) -> Answer          PATCH (204) and HEAD (200, Upload-Offset)

`exports.py` (pure: state in, bytes out; called inside the worker)
    def make_archive(state: State, target: Project | Task | Job, format_name: str, *, save_images: bool) -> bytes
    def import_annotations(state, target, format_name, content: bytes, *, filename: str, append: bool,
                           conv_mask_to_poly: bool = True) -> None
        For a project it makes a new task of the images in the archive. Raises `Failed(message)`.
    def make_backup(state, target: Project | Task) -> bytes
    def import_backup(state, kind: "project" | "task", content: bytes, *, owner_id: int,
                      organization_id: int | None) -> int                 the new project's or task's id

Annotations are written with `annotations.put(state, task, data)`, `annotations.append(state, task, data)` (task-wide,
spread over the jobs as the server does; data = {"tags", "shapes", "tracks"} of request JSON) and read with
`annotations.of_task(state, task)`: none of these modules touches `job.shapes` itself.
"""
