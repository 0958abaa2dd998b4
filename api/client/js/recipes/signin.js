// Where files go, and who sends them. A page of yours has the token from its own sign-in.
export const bucket = 'demo';
export const getToken = () => sessionStorage.getItem('cairn.token') ?? undefined;
